# Built in one stage, with all that this takes, and run in another that has only the result.
FROM python:3-slim AS build
RUN python3 -m venv /venv
RUN /venv/bin/pip install pidone

FROM python:3-slim
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH
COPY app.py /app/
USER 1000:1000
ENTRYPOINT ["pyinit", "--"]
CMD ["python", "/app/app.py", "serve"]
