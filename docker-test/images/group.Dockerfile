# A shell as the entrypoint's program: the signal goes to its process group, so to the app as well,
# and the container lives until the app has ended too.
FROM python:3-slim
RUN pip install pidone
COPY app.py /app/
ENTRYPOINT ["pyinit", "-g", "--wait", "--"]
CMD ["sh", "-c", "python3 /app/app.py graceful; exit $?"]
