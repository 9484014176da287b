"""Regular expressions of the phrases that captions use for style, medium and the picture itself.

Each is a piece of a larger expression of `style_rules`; a group of alternatives unless it says otherwise.
"""

from __future__ import annotations

BE = r"(?:is|are|was|were)"
THE = r"(?:an?|the|this|that|these|its|his|her|their)"
INTENSELY = (
    r"(?:(?:highly|very|somewhat|slightly|clearly|distinctly|beautifully|typically|more|rather|quite|mostly|simply"
    r"|intricately|carefully|heavily|finely|richly|vividly)\s+)?"
)
# What a style can be named after; with `-style` behind it an attribute.
NAMED = (
    r"(?:anime|manga|cartoon|comic(?:[- ]book)?|webtoon|manhwa|chibi|cel|cgi|cg|2d|3d|pixel(?:[- ]art)?|vector"
    r"|watercolou?r|oil|digital|ink|pencil|crayon|gouache|pastel|ghibli|studio[- ]ghibli|disney|pixar|visual[- ]novel"
    r"|jrpg|moe"
    r"|ukiyo-e|pop[- ]art|illustration|illustrated|illustrative|painting|painted|art|animation|animated|storybook"
    r"|sketch"
    r"|line[- ]art|drawing|hand[- ]drawn|cartoonish|stylized|stylised|semi[- ]realistic|realistic|photorealistic"
    r"|otome|shoujo|shojo|shonen|shounen|seinen|kawaii|video[- ]game|concept[- ]art|graphic[- ]novel)"
)
JOIN = r"(?:[- ](?:styled?|inspired|like|esque|influenced)|-looking)"
BARE_ADJECTIVE = (
    r"(?:anime|animated|manga|cartoonish|cartoony|cartoon|chibi|stylized|stylised|illustrated|illustrative"
    r"|hand[- ](?:drawn|painted|illustrated)|digitally[- ](?:drawn|rendered|painted|illustrated|created|animated"
    r"|colou?red)"
    r"|computer[- ](?:generated|animated)|ai[- ]generated|cell?[- ]shaded|photo[- ]?realistic|hyper[- ]?realistic"
    r"|semi[- ]?realistic|realistic|lifelike|painterly|pixel[- ]art|line[- ]art|3d[- ]?(?:rendered|modell?ed|animated)?"
    r"|2d[- ]?(?:rendered|animated)?|cgi|impressionistic|impressionist|super[- ]deformed|watercolou?r|webtoon|manhwa"
    r"|comic[- ]book|sketch[- ]like|sketchily|rendered)"
)
ADJECTIVE = rf"(?:(?:{NAMED}{JOIN}|(?:style|semi)[- ]{BARE_ADJECTIVE}|{BARE_ADJECTIVE})(?![\w-]))"
ADJECTIVES = rf"{INTENSELY}{ADJECTIVE}(?:(?:\s*,\s*(?:and\s+)?|\s+and\s+|\s+or\s+|\s+|/){INTENSELY}{ADJECTIVE})*"

MEDIUM = (
    r"(?:(?:(?:fan|concept|digital|pixel|line|key|anime|manga|cover|promotional|official)[- ]?)?(?:art(?:work)?|visual)"
    r"(?:\s+piece)?|illustrations?|drawings?|paintings?|sketch(?:es)?|renders?|renderings?|images?|pictures?|photos?"
    r"|photographs?|depictions?|portrayals?|screenshots?|screencaps?|piece\s+of\s+(?:[\w-]+\s+)?art(?:work)?"
    r"|work\s+of\s+(?:[\w-]+\s+)?art|animations?|cartoons?|anime|manga|visual\s+novel\s+cg|comics?|fanart|line\s?art"
    r"|still(?:\s+frame)?|watercolou?rs?|gouache|snapshots?|graphic|composition"
    r"|(?:manga|comic)\s+(?:panel|page|strip|cover))"
)
# Adjectives before a medium: no articles, prepositions or verbs, so that no other noun phrase is crossed.
PLAIN = (
    r"(?!(?:an?|the|this|that|his|her|their|its|of|in|on|at|with|by|for|from|to|and|or|is|are|was|has|have|as|who|which"
    r"|while|shows?|depicts?|there|he|she|they|it)\b)[\w'-]+"
)
QUALIFIED = rf"(?:{PLAIN},?\s+(?:and\s+)?){{0,6}}?"
MOODS = (
    r"(?:dreamy|dreamlike|dynamic|vibrant|lively|striking|stunning|captivating|harmonious|cohesive|balanced"
    r"|whimsical|serene|visually|atmospheric|dramatic|magical|enchanting|pleasing|engaging|compelling"
    r"|evocative|memorable|powerful|polished|heartwarming|mesmeri[sz]ing)"
)
"""What a caption says of the picture that it describes, and hardly of one that is in it."""
SHOWS = (
    r"(?:shows?|showing|depicts?|depicting|features?|featuring|portrays?|portraying|displays?|displaying|presents?"
    r"|presenting"
    r"|captures?|capturing|illustrates?|illustrating|represents?|representing|showcases?|showcasing|contains?|includes?"
    r"|consists?\s+of|of|is\s+of)"
)
THE_PICTURE = (
    r"(?:image|picture|illustration|artwork|drawing|painting|photo|photograph|sketch|render|rendering|animation|fanart"
    r"|art\s+piece|(?:piece|work)\s+of\s+(?:[\w-]+\s+)?art(?:work)?|piece|screenshot|visual|depiction|digital\s+art"
    r"|art)"
)
OF_PICTURE = rf"(?:the|this)\s+(?:{ADJECTIVES}\s+|digital\s+|overall\s+|entire\s+|whole\s+)*{THE_PICTURE}(?:[’']s)?"

STYLE_NOUN = (
    r"(?:art\s?styles?|styles?|styling|aesthetics?|look|manner|technique|fashion|feel|vibe|appearance|quality|form"
    r"|format)"
)
ART = (
    rf"(?:{BARE_ADJECTIVE}|{NAMED}{JOIN}|{NAMED}|artistic|art|drawn|sketchy|illustration|comics|cartoons|animations?"
    r"|doujinshi|cel|graphic\s+novels?|cel[- ]shading|japanese\s+animation|visual\s+novels?)"
)
CROSSED = r"(?!(?:in|of|with|on|at|by|for|from|to|an?|the|his|her|their|its|is|are|has|who|which|while)\b)"
WORDS = rf"(?:{CROSSED}[\w'/-]+,?\s+){{0,5}}?"
OF_ART = (
    rf"(?:(?:typical|characteristic|reminiscent|evocative|representative|indicative|suggestive)(?:ly)?\s+of|(?:common"
    r"|popular|"
    rf"often\s+(?:seen|found|used)|commonly\s+(?:seen|found|used|associated)|typically\s+(?:seen|found)"
    r"|frequently\s+(?:seen|found)"
    rf"|associated|found|seen)\s+(?:in|with)|similar\s+to|inspired\s+by|influenced\s+by|akin\s+to)\s+"
    rf"(?:(?:an?|the|that)\s+)?{WORDS}{ART}(?![\w-])(?:\s+(?:and|or)\s+(?:[\w-]+\s+)?{ART})*"
    r"(?:\s+(?:style|styles|art|characters?|illustrations?|productions|works|media|aesthetics?|series|films?|movies"
    r"|games?"
    r"|culture|artwork|drawings|animation|design|designs|tropes|fashion|girls?|heroines?))*"
)
STYLE_OF = (
    rf"(?:\s+(?:of|from|in|for)\s+{WORDS}{ART}(?:\s+[\w-]+)?(?:\s+(?:and|or)\s+{ART})*(?:\s+(?:series|films?|art"
    r"|media))?)?"
)
STYLE_PHRASE = (
    rf"(?:(?:{THE}\s+)?{WORDS}{ART}(?:\s+(?:and"
    rf"|or)\s+[\w-]+)?(?:[- ]{ART})*[- ]{STYLE_NOUN}{STYLE_OF}(?:,?\s+{OF_ART})?"
    rf"|(?:an?|the)\s+{WORDS}(?:styles?|manner|aesthetic)\s*,?\s+{OF_ART})"
)
MADE = (
    r"(?:drawn|rendered|depicted|illustrated|painted|presented|portrayed|created|styled|designed|executed|captured|made"
    r"|sketched|animated|done|shown|crafted|composed|stylized)"
)
DRAWN = r"(?:drawn|rendered|illustrated|animated|sketched|digitally\s+\w+)"
IN_MEDIUM = (
    r"(?:in|with|using|as)\s+(?:an?\s+)?(?:(?:soft|light|loose|delicate|black|colou?red|traditional|bold|digital"
    r"|vibrant|fine)\s+)*"
    r"(?:watercolou?rs?|pixel\s+art|oils?(?:\s+paints?)?|inks?|pencils?|cel[- ]shading|line\s?art|charcoal|pastels?"
    r"|gouache|acrylics?"
    r"|3d|2d|cgi|digital\s+(?:art|media|medium|painting|illustration)|illustrations?|cartoons?|paintings?|sketch(?:es)?"
    r"|monochrome\s+ink|manga\s+form|chibi(?:\s+form)?|markers?)"
)
TECHNIQUE = (
    r"(?:(?:soft|bold|clean|crisp|thick|thin|smooth|subtle|delicate|detailed|fine|sharp|visible|loose|strong|clear"
    r"|intricate"
    r"|dynamic|expressive|vibrant|simple|rough|sketchy|careful|confident|digital|heavy|light|flat)\s*,?\s+(?:and\s+)?)*"
    r"(?:cell?[- ]shading|(?:soft|smooth|subtle|flat|gradient)\s+shading|line\s?work|line\s?art|lineart"
    r"|brush\s?strokes?|brush\s?work|screentones?|halftones?"
    r"|cross-?hatching|hatching"
    r"|penciling|rendering|digital\s+(?:shading|colou?ring|painting)|colou?ring\s+technique|pencil\s+strokes"
    r"|lines\s+and\s+shading"
    r"|outlines\s+and\s+shading|stylized\s+(?:features|proportions|elements)|painterly\s+(?:texture|strokes)"
    r"|watercolou?r\s+textures?)"
)
CLAUSE_END = r"(?=\s*[.,;:!?]|\s*$|\s+(?:with|while|wearing|holding|who|standing|sitting|and)\b)"
ENDING = r"(?=\s*[.,;:!?]|\s*$)"

ABOUT = (
    r"(?:art\s?style|style|aesthetic|line\s?work|brush\s?work|brush\s?strokes?|(?:line\s?art|lineart"
    r"|rendering)(?!\s+(?:of|depict\w*|show\w*|featur\w*|portray\w*|captur\w*|style)\b|,)|artist\s?ry"
    r"|draughtsmanship|medium\s+(?:is|of\s+the|used)|cell?[- ]shading|artist(?:['’]s|\s+(?:has|uses|used|employs"
    r"|employed|captures|captured"
    r"|chose"
    r"|seems|rendered|drew))|illustrator(?:['’]s|\s+\w+s)|art\s+direction|visual\s+style|colou?ring\s+style"
    r"|shading\s+(?:is|and|style"
    r"|technique)|colou?ring\s+(?:is|technique)|overall\s+(?:impression|effect|presentation|design)"
    r"|level\s+of\s+detail|attention\s+to"
    r"\s+detail|use\s+of\s+(?:bold\s+|clean\s+|soft\s+)?(?:lines|line|shading|cel|colou?r)|linework|artwork['’]s"
    r"|illustration['’]s\s+style"
    r"|(?:art|animation|artwork|illustration)\s+style|image\s+quality|quality\s+of\s+the|design\s+is\s+(?:typical"
    r"|reminiscent))"
)
