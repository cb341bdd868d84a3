"""A conversational flow that needs no model: it repeats what was said, and counts."""

import time
from typing import Any

from crewai.experimental import ConversationConfig  # where all versions have it
from crewai.flow import Flow


@ConversationConfig()
class Parrot(Flow):
    """Repeat."""

    conversational = True  # in 1.15.2 the decorator alone does not make it one

    def route_turn(self, _: dict[str, Any]) -> str:
        """Take the only way."""
        return "converse"

    def converse_turn(self) -> str:
        """Say how many messages there were, and the last one."""
        said = self.state.current_user_message
        if said == "slowly":
            time.sleep(3)
        if said == "fail":
            raise ValueError("as you wish")
        return f"{len(self.state.messages)}: {said}"
