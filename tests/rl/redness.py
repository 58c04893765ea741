"""A scorer that measures pixels; a module of its own, for child processes import it too."""

import numpy as np

from hpedit.records import Score


class RednessScorer:
    """Scores how red an edit is, 0 to 5. `answer` may replace a value, by the number of the edit in the call."""

    fingerprint = "redness"

    def __init__(self, answer=None):
        self.answer = answer or (lambda _number, value: value)
        self.calls = 0

    def score(self, cases, images, edit_ids=None):
        assert len(cases) == len(images) == len(edit_ids)
        self.calls += 1
        scores = []
        for number, (edit_id, image) in enumerate(zip(edit_ids, images, strict=True)):
            red, green, blue = np.asarray(image, dtype=float).mean((0, 1)) / 255
            value = self.answer(number, float(np.clip(2.5 + 10 * (red - (green + blue) / 2), 0, 5)))
            scores.append(Score(edit_id, self.fingerprint, value, reason=None if value is not None else "no answer"))
        return scores
