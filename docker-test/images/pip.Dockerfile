# Installed by pip, as most images would.
FROM python:3-slim
RUN pip install pidone
COPY app.py /app/
ENTRYPOINT ["pyinit", "--"]
CMD ["python3", "/app/app.py", "serve"]
