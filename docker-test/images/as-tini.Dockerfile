# In the place of tini: the entrypoint stays what it was.
FROM python:3-slim
RUN pip install pidone
RUN pyinit --install-as tini /usr/local/bin
COPY app.py /app/
ENTRYPOINT ["tini", "-g", "--"]
CMD ["python3", "/app/app.py", "serve"]
