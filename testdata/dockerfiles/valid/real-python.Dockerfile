# syntax=docker/dockerfile:1
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS wheels
WORKDIR /src
COPY requirements.txt .
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel --wheel-dir /wheels -r requirements.txt

FROM python:${PYTHON}-slim
ENV PYTHONUNBUFFERED=1 \
    PATH="/app/bin:${PATH}"
RUN groupadd --system app && \
    useradd --system --gid app app
COPY --from=wheels /wheels /wheels
RUN pip install --no-index --find-links=/wheels app && rm -rf /wheels
USER app:app
EXPOSE 8000
HEALTHCHECK --interval=30s CMD ["python", "-m", "app.health"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["--port", "8000"]
