"""A local AOP server: a crew from a project on disk behind the API of a deployed one."""
