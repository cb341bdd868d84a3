"""There is no flow here."""


class Flow:
    pass
