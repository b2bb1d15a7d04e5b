# Copied: the image needs nothing but an interpreter, neither pip nor a package index.
FROM python:3-slim
COPY pyinit /opt/pyinit
RUN python3 -m compileall -q /opt/pyinit
COPY app.py /app/
ENTRYPOINT ["python3", "-IS", "/opt/pyinit/__main__.py", "--"]
CMD ["python3", "/app/app.py", "serve"]
