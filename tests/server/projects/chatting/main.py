"""A conversational flow that needs no model: it repeats what was said, and counts."""

import time
from typing import Any

from crewai.flow import Flow
from crewai.flow.conversational import ConversationConfig


@ConversationConfig()
class Parrot(Flow):
    """Repeat."""

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
