"""The page of a task's run inside Airflow's api-server (3.1+). Nothing else of Airflow's loads these modules.

plugin                        brings the page into the api-server; on Airflow 3.4 as a tab of our tasks, too
pages                         its routes: what a browser gets
airflow_api                   asks Airflow's own API as the person who looks: so Airflow's permissions hold
deployment                    one look at a run for all who look at its page
receiver                      takes the calls of deployments: who may call, and how much
delivery                      where a call belongs: puts it where its task finds it
task_view                     what the page shows of a task's run
batch_view                    what it shows of a task's batch
"""
