# dpod-search for processors alone, without a compiler and without a cache of pip's.
#
#   docker build -t dpod-search .
#   docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" dpod-search run --study digits
#
# EXTRAS chooses more: --build-arg EXTRAS=onnx,timm

FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY dpod_search dpod_search
COPY studies studies
RUN python -m pip wheel --no-cache-dir --no-deps --constraint constraints.txt --wheel-dir /wheels .

FROM python:3.13-slim
ARG EXTRAS=onnx
# PyTorch's own index has builds without CUDA, which are a tenth of the others.
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    python -m pip install --no-cache-dir --constraint /constraints.txt \
        --extra-index-url https://download.pytorch.org/whl/cpu \
        "dpod-search[${EXTRAS}] @ file://$(echo /wheels/dpod_search-*.whl)"
# Whoever runs it may have no home and no name here.
ENV HOME=/tmp \
    OMP_NUM_THREADS=1 \
    PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 1000 dpod
USER dpod
WORKDIR /work
# The first of these ends a run as Ctrl-C does: it goes on with the same command.
STOPSIGNAL SIGTERM
ENTRYPOINT ["dpod-search"]
CMD ["--help"]
