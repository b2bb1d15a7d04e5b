# tini itself, to measure beside.
FROM python:3-slim
COPY tini /usr/local/bin/
COPY app.py /app/
ENTRYPOINT ["tini", "--"]
CMD ["python3", "/app/app.py", "serve"]
