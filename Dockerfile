# syntax=docker/dockerfile:1
# Candor with CUDA; it runs on a CPU just the same where no GPU is given.
#
#   docker build --tag candor .
#   docker run --gpus all --publish 127.0.0.1:8000:8000 --volume candor:/srv/candor/var --shm-size 2g candor
#
# Base: NVIDIA's `base` image states which driver it needs and is refused with a clear message on an older one. PyTorch's wheels carry
# cuBLAS, cuDNN and NCCL themselves, so NVIDIA's `runtime` image would only hold 2 GB of them twice. Ubuntu 24.04 has no Python 3.11, and
# the usual way to it is a third party's package archive; it is taken from the official Python image instead, whose Debian has an older
# glibc and the same libssl, libffi and libsqlite, so that it runs here. The build imports what it needs of them and fails if that changes.
#
# Weights are not in the image: they are installed at the first start into the volume, verified by hash. So the image carries nobody
# else's weights and licences, and a change of models needs no build. Without a way to a package index, fill the volume on a machine
# that has one: start Candor there once, and copy it.

FROM python:3.11.14-slim-bookworm AS python

# What Candor needs, at the locked versions and without the development tools. Only a change of the lock or of pyproject.toml repeats it.
FROM python AS dependencies
# Ultralytics is AGPL-3.0: `--build-arg EXTRAS=server` leaves it out. Then use detection models of family onnx: README.md, "Licences".
ARG EXTRAS=server,ultralytics
WORKDIR /build
RUN python -m venv /opt/candor && touch README.md
COPY requirements.lock pyproject.toml ./
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/candor/bin/python -m pip install --disable-pip-version-check --constraint requirements.lock ".[${EXTRAS}]"

FROM python AS wheel
WORKDIR /build
COPY . .
RUN python -m pip wheel --disable-pip-version-check --no-deps --no-cache-dir --wheel-dir /wheels .

FROM nvidia/cuda:13.0.2-base-ubuntu24.04
# tini: Ray starts many processes, and somebody has to bury them. gcc and libc6-dev: `engine.compile` builds its launchers with them. The
# libraries are Python's.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
       ca-certificates gcc libbz2-1.0 libc6-dev libffi8 liblzma5 libsqlite3-0 libssl3t64 libuuid1 tini zlib1g \
    && rm -rf /var/lib/apt/lists/*
COPY --from=python /usr/local /usr/local
RUN ldconfig && python3.11 -c "import bz2, ctypes, lzma, sqlite3, ssl, uuid, zlib"
COPY --from=dependencies /opt/candor /opt/candor
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    /opt/candor/bin/python -m pip install --disable-pip-version-check --no-cache-dir --no-deps --force-reinstall /wheels/*.whl \
    && useradd --uid 10001 --home-dir /srv/candor/var --no-create-home --shell /usr/sbin/nologin candor \
    && install --directory --owner 10001 --group 10001 /srv/candor/var

WORKDIR /srv/candor
COPY LICENSE ./
COPY configs configs

# All that is written goes to the volume, or to /tmp (Ray's sockets and logs): the rest of the file system may be read-only.
VOLUME /srv/candor/var
# A container listens to its network, or nobody could reach it: who may is decided by --publish and by API keys.
# The first start prints one that may do everything.
ENV PATH=/opt/candor/bin:$PATH \
    HOME=/srv/candor/var \
    XDG_CACHE_HOME=/srv/candor/var/cache \
    TORCHINDUCTOR_CACHE_DIR=/srv/candor/var/cache/inductor \
    MPLCONFIGDIR=/srv/candor/var/cache/matplotlib \
    PYTHONUNBUFFERED=1 \
    CANDOR_SERVER__HOST=0.0.0.0 \
    CANDOR_SERVER__ALLOW_REMOTE=true
EXPOSE 8000
USER 10001:10001

# The first start installs weights before it listens; large ones take minutes. Failures count only after the start period.
HEALTHCHECK --interval=15s --timeout=6s --start-period=600s --retries=4 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ.get(\"CANDOR_SERVER__PORT\", 8000)}/livez', timeout=5)"]
ENTRYPOINT ["tini", "--", "candor"]
CMD ["serve", "--config", "configs/default.yaml"]
