"""The arena: people vote between pictures of models, blindly, and the votes are turned into ratings."""
