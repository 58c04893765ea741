"""Instructions without a VLM: wordings around a list of objects, backgrounds, colours, lights and styles.

    writer = TemplateWriter(tasks, per_photo=2, wordings=1, objects=COCO, seed=0)
    written, = writer.write([photo], ["dog"])

Removal, swap and colour change need an object that is known to be in the photograph: its category, or its labels.
Addition takes an object of the list that is not known to be there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from hpedit.cases.coco import GROUP_OF, USUAL_COLORS, indefinite, spoken
from hpedit.cases.instructions.written import Written
from hpedit.cases.photos import Draft, Photo
from hpedit.seeds import hash_choice, hash_shuffle

WORDINGS: dict[str, tuple[str, ...]] = {
    "addition": (
        "Add {new} {place}.",
        "Put {new} {place}.",
        "Place {new} {place}.",
        "Insert {new} {place}.",
        "Let there be {new} {place}.",
        "Show {new} {place}.",
        "I would like to see {new} {place}.",
        "Please add {new} {place}, with fitting light and shadow.",
    ),
    "removal": (
        "Remove the {old}.",
        "Take the {old} out of the picture.",
        "Erase the {old} and fill in what is behind.",
        "Delete the {old}.",
        "Get rid of the {old}.",
        "Make the {old} disappear.",
        "Show this scene without the {old}.",
        "Please remove the {old} and leave everything else as it is.",
    ),
    "swap": (
        "Replace the {old} with {new}.",
        "Swap the {old} for {new}.",
        "Change the {old} into {new}.",
        "Turn the {old} into {new}.",
        "Exchange the {old} for {new}.",
        "Put {new} where the {old} is now.",
        "Instead of the {old}, show {new}.",
        "Please replace the {old} by {new} at the same place.",
    ),
    "background": (
        "Change the background to {backdrop}.",
        "Replace the background with {backdrop}.",
        "Make the background {backdrop}.",
        "Set {subject} against {backdrop}.",
        "Show {subject} in front of {backdrop}.",
        "Swap the background for {backdrop}.",
        "Put {backdrop} behind {subject}.",
        "Please replace everything behind {subject} by {backdrop}.",
    ),
    "color": (
        "Make the {thing} {color}.",
        "Change the color of the {thing} to {color}.",
        "Turn the {thing} {color}.",
        "Color the {thing} {color}.",
        "Recolor the {thing} in {color}.",
        "Give the {thing} {a_color} color.",
        "I would like the {thing} to be {color}.",
        "Please make the {thing} {color} and keep its shape and texture.",
    ),
    "bokeh": (
        "Blur the background {blur} and keep {subject} sharp.",
        "Give the picture {bokeh} around {subject}.",
        "Throw everything behind {subject} {blur} out of focus.",
        "Make it look as if shot with a wide aperture: {subject} sharp, the rest {blur} blurred.",
        "Add {bokeh} to the background.",
        "Keep {subject} in focus and let the background blur {blur}.",
        "Use a shallow depth of field, with the background {blur} out of focus.",
        "Please set {subject} off with {bokeh} in the background.",
    ),
    "relighting": (
        "Relight the scene with {light}.",
        "Change the light to {light}.",
        "Show the scene in {light}.",
        "Light the picture with {light}.",
        "Make it look as if lit by {light}.",
        "Give the picture {light}.",
        "Render the same scene under {light}.",
        "Please change only the lighting, to {light}.",
    ),
    "style": (
        "Turn the picture into {style}.",
        "Make it look like {style}.",
        "Render the picture as {style}.",
        "Transform the photo into {style}.",
        "Redraw the picture as {style}.",
        "Show the same scene as {style}.",
        "Convert this photo to {style}.",
        "Please restyle the whole picture as {style}.",
    ),
}
"""Eight ways of saying each task, as many as `instructions.wordings` allows."""

PLACES = (
    "on the left",
    "on the right",
    "in the foreground",
    "in the background",
    "in the middle",
    "in the lower left corner",
    "in the lower right corner",
)
BACKDROPS = (
    "a sandy beach",
    "a snowy mountain range",
    "a dense forest",
    "a city street at night",
    "a field of sunflowers",
    "a desert with dunes",
    "a plain white studio wall",
    "a library full of books",
    "a rainy street",
    "a calm lake with reflections",
    "an autumn park",
    "a starry night sky",
    "a brick wall",
    "a green meadow",
    "a modern kitchen",
    "a tropical rainforest",
    "an old harbor",
    "a cozy living room with a fireplace",
    "a football stadium",
    "a cliff above the sea",
    "a Japanese garden",
    "a plain gray studio backdrop",
    "a busy market square",
    "a frozen lake",
)
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray", "turquoise")
BLURS = ("softly", "strongly", "slightly", "smoothly")
BOKEHS = ("a soft bokeh", "a strong bokeh", "a creamy bokeh", "a bokeh with round highlights")
LIGHTS = (
    "warm light of a low evening sun",
    "cool blue light of dusk",
    "soft light of an overcast day",
    "hard midday sun from above",
    "moonlight",
    "candlelight",
    "golden light of sunrise",
    "red and blue neon light",
    "strong light from the left",
    "strong light from the right",
    "backlight with a bright rim",
    "a single spotlight on the subject",
    "soft studio light",
    "light through window blinds",
    "dramatic light before a thunderstorm",
    "the glow of a campfire",
    "pale winter light",
    "bright morning light",
)
STYLES = (
    "an oil painting",
    "a watercolor painting",
    "a pencil sketch",
    "a charcoal drawing",
    "a black and white photograph",
    "an anime drawing",
    "a comic book page",
    "pixel art",
    "an impressionist painting",
    "a cubist painting",
    "a pop art print",
    "a Japanese woodblock print",
    "a stained glass window",
    "a mosaic",
    "a paper cut-out collage",
    "a clay animation",
    "a low-poly 3D render",
    "a vintage sepia photograph",
    "a children's book illustration",
    "a cyberpunk illustration",
)
NEEDS_OBJECT = frozenset({"removal", "swap", "color"})
SUBJECT = "the main subject"


def words_fingerprint() -> str:
    """SHA-256 (hex) of all words: with others, another version of the program writes other instructions."""
    groups, usual = sorted(GROUP_OF.items()), sorted((name, sorted(colors)) for name, colors in USUAL_COLORS.items())
    words = [WORDINGS, PLACES, BACKDROPS, COLORS, BLURS, BOKEHS, LIGHTS, STYLES, SUBJECT, groups, usual]
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()


class TemplateWriter:
    """Writes instructions in English from lists of words.

    Args:
        tasks: Which tasks are drawn from.
        per_photo: Tasks for one photograph, fewer where not so many make sense.
        wordings: Drafts for each task that say the same in other words, 1 to 8.
        objects: What may be added and swapped in.
        seed: Of the build.
    """

    def __init__(self, tasks: Sequence[str], per_photo: int, wordings: int, objects: Sequence[str], seed: int) -> None:
        self.tasks = tuple(tasks)
        self.per_photo = per_photo
        self.wordings = wordings
        self.objects = tuple(dict.fromkeys(objects))
        self.seed = seed

    def write(self, photos: Sequence[Photo], categories: Sequence[str]) -> list[Written]:
        """Drafts for each photograph; `categories` are those of `Labeller.label`, empty where there is none."""
        return [self._write(photo, category) for photo, category in zip(photos, categories, strict=True)]

    def _write(self, photo: Photo, category: str) -> Written:
        known = tuple(dict.fromkeys(name for name in (category, *photo.labels) if name))
        drafts: list[Draft] = []
        tasks = [task for task in hash_shuffle(self.tasks, self.seed, "tasks", photo.id) if self._fits(task, known)]
        for task in tasks[: self.per_photo]:
            drafts += self._drafts(task, photo.id, known)
        return Written(tuple(drafts))

    def _fits(self, task: str, known: Sequence[str]) -> bool:
        """Whether a task makes sense for a photograph with these known objects."""
        if task in NEEDS_OBJECT and not known:
            return False
        return task not in ("addition", "swap") or any(name not in known for name in self.objects)

    def _drafts(self, task: str, photo: str, known: Sequence[str]) -> list[Draft]:
        """The same request in `wordings` ways, and the object that it is about."""
        key = (self.seed, task, photo)
        words, category = self._words(task, photo, known)
        forms = hash_shuffle(WORDINGS[task], *key, "wording")[: self.wordings]
        return [
            Draft(task, form.format(**words), category, wording=index, by="template")
            for index, form in enumerate(forms)
        ]

    def _words(self, task: str, photo: str, known: Sequence[str]) -> tuple[dict[str, str], str]:
        """What fills the places of a task's wordings, and the object that the request is about."""
        key = (self.seed, task, photo)
        main = known[0] if known else ""
        words = {"subject": f"the {spoken(main)}" if main else SUBJECT}
        if task == "addition":
            main = hash_choice([name for name in self.objects if name not in known], *key, "new")
            words |= {"new": indefinite(spoken(main)), "place": hash_choice(PLACES, *key, "place")}
        elif task == "removal":
            words["old"] = spoken(main)
        elif task == "swap":
            words |= {"old": spoken(main), "new": indefinite(spoken(hash_choice(self._likes(known), *key, "new")))}
        elif task == "color":
            colors = [color for color in COLORS if color not in USUAL_COLORS.get(main, ())]
            words |= {"thing": "person's clothing" if main == "person" else spoken(main)}
            color = hash_choice(colors, *key, "color")
            words |= {"color": color, "a_color": indefinite(color)}
        else:
            words |= {
                "backdrop": hash_choice(BACKDROPS, *key, "backdrop"),
                "blur": hash_choice(BLURS, *key, "blur"),
                "bokeh": hash_choice(BOKEHS, *key, "bokeh"),
                "light": hash_choice(LIGHTS, *key, "light"),
                "style": hash_choice(STYLES, *key, "style"),
            }
        return words, main

    def _likes(self, known: Sequence[str]) -> list[str]:
        """What may stand in for the main object: things of its group where the list has some, else any other."""
        others = [name for name in self.objects if name not in known]
        group = GROUP_OF.get(known[0])
        return [name for name in others if group and GROUP_OF.get(name) == group] or others
