# In the place of dumb-init: the entrypoint stays what it was.
FROM python:3-slim
RUN pip install pidone
RUN pyinit --install-as dumb-init /usr/local/bin
COPY app.py /app/
ENTRYPOINT ["dumb-init", "--"]
CMD ["python3", "/app/app.py", "serve"]
