"""The words of the kitchen: surface forms of every label, phrases, habits of speech."""

# The first form is the base form, which a cloze template asks for. No form belongs to two labels,
# and no phrase below uses one for anything else, so that a word gives its label.
VERB_FORMS = {
    "pour": ("pour", "pouring"),
    "chop": ("chop", "chopping", "dice", "dicing"),
    "slice": ("slice", "slicing"),
    "stir": ("stir", "stirring", "mix", "mixing"),
    "mash": ("mash", "mashing", "crush", "crushing"),
    "toss": ("toss", "tossing"),
    "add": ("add", "adding", "throw", "throwing"),
    "flip": ("flip", "flipping", "turn", "turning"),
    "spread": ("spread", "spreading"),
    "peel": ("peel", "peeling"),
    "roll": ("roll", "rolling"),
    "sprinkle": ("sprinkle", "sprinkling"),
    "knead": ("knead", "kneading"),
    "pat": ("pat", "patting", "press", "pressing"),
}
OBJECT_FORMS = {
    "tomato": ("tomato", "tomatoes"),
    "carrot": ("carrot", "carrots"),
    "cucumber": ("cucumber", "cucumbers"),
    "potato": ("potato", "potatoes"),
    "onion": ("onion", "onions"),
    "mushroom": ("mushroom", "mushrooms"),
    "cheese": ("cheese",),
    "dough": ("dough",),
    "egg": ("egg", "eggs"),
    "steak": ("steak", "meat"),
    "fish": ("fish", "fillet"),
    "lemon": ("lemon", "lemons"),
    "herbs": ("herbs", "parsley"),
    "fondant": ("fondant",),
    "marzipan": ("marzipan",),
    "cream": ("cream",),
    "chocolate": ("chocolate",),
    "sauce": ("sauce",),
}
CONTAINER_FORMS = {
    "pan": ("pan",),
    "bowl": ("bowl",),
    "pot": ("pot",),
    "plate": ("plate",),
    "board": ("board",),
}

# Leads before a base form, and before an -ing form.
BASE_LEADS = (
    "",
    "now",
    "so now we",
    "okay now",
    "and then you",
    "let me",
    "now let me",
    "next we are going to",
    "go ahead and",
    "then i like to",
    "here is how to",
    "i will show you how to",
    "this is how you",
    "you just want to",
    "after that we",
)
GERUND_LEADS = (
    "now i am",
    "we are just",
    "keep",
    "start",
    "right now i am",
    "so here we are",
    "you can see me",
)
ARTICLES = ("the", "the", "the", "our", "some", "this")
# What may follow the object; {container} is named there at times.
OBJECT_TAILS = {
    "pour": ("into the {container}", "in the {container}", "in slowly", ""),
    "chop": ("on the {container}", "into small pieces", "up nicely", ""),
    "slice": ("on the {container}", "into pieces", "nicely", ""),
    "stir": ("in the {container}", "around the {container}", "gently", ""),
    "mash": ("in the {container}", "until it is smooth", "really well", ""),
    "toss": ("in the {container}", "around the {container}", "gently", ""),
    "add": ("to the {container}", "into the {container}", "in", ""),
    "flip": ("over", "over in the {container}", "to the other side", ""),
    "spread": ("all over the bread", "on top of the bread", "on the {container}", ""),
    "peel": ("over the {container}", "with long strokes", "all around", ""),
    "roll": ("out", "out flat on the {container}", "until it is thin", ""),
    "sprinkle": ("over the top", "all over the {container}", "on top", ""),
    "knead": ("with both hands", "in the {container}", "until it is smooth", ""),
    "pat": ("with both hands", "on the {container}", "gently", ""),
}
CLOSINGS = ("", "", "", "", "like this", "just like that", "you know", "for a little bit", "okay")
FILLERS = ("um", "uh", "you know", "like", "so")
CHAT = (
    "thank you guys so much for watching",
    "do not forget to like and subscribe",
    "my grandma taught me this one",
    "it smells so good in here",
    "i got this at the store yesterday",
    "let me know in the comments what you think",
    "we are almost there",
    "sorry about the noise outside",
    "you can do this with your kids",
    "this is my favorite part of the day",
    "show me how yours came out",
    "i do this every sunday",
)
GREETINGS = (
    "hi everybody welcome back to my kitchen",
    "hello guys welcome to my channel",
    "alright let us get started",
)
TEMPLATE = "now let me show you how to [MASK] the [MASK]"
CONTAINER_TEMPLATE = "now [MASK] the [MASK] in the {container}"
