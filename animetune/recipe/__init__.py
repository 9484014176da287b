"""Whole recipes: the stages of `recipe.yaml` one after another, each done once. `config` reads one, `run` runs it,
`shipped` lists and copies those that come with animetune."""
