# The pause container of a pod: holds its namespaces, reaps for all its containers.
FROM python:3-slim
RUN pip install pidone
ENTRYPOINT ["pyinit", "--pause"]
