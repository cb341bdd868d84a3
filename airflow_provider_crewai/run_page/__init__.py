"""The page of one run: values in, safe HTML out. For Airflow's api-server and for the local server alike.

view                          what is known about a run, in plain values
rendering                     makes the page; holds its headers and its static files
outputs                       is an output Markdown, JSON or text? how much of it is shown?
markdown                      makes safe HTML from Markdown
json_tree                     makes a tree from JSON
filters                       writes values for a person, in the templates
"""
