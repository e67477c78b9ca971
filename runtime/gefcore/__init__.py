"""What the runner is made of: script (the author's code), journal, results, gee.
Scripts of the existing Environment import themselves from a package of this name; no module of theirs is hidden."""


class Failure(Exception):
    """An end that the runner itself explains: a class of failure and a sentence for people."""

    def __init__(self, kind, sentence):
        super().__init__(sentence)
        self.kind = kind
