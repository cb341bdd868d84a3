"""Where flows keep their states: there is none."""


class SQLiteFlowPersistence:
    pass
