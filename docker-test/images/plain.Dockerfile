# The same service without an init: it is PID 1 itself.
FROM python:3-slim
COPY app.py /app/
CMD ["python3", "/app/app.py", "serve"]
