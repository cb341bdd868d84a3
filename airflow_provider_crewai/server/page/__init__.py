"""The page of the server: the project, its runs and their questions, in plain HTML that works without scripts."""

from airflow_provider_crewai.server.page.front import front
from airflow_provider_crewai.server.page.routes import Page, assets

__all__ = ["Page", "assets", "front"]
