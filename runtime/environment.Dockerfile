# A script on an image of the existing Environment, which reports to the API by itself. Built by the engines of containers.
ARG BASE
FROM ${BASE}
USER root
COPY te /te
RUN if grep -q '[^[:space:]]' /te/requirements.txt; then \
        PIP_CONFIG_FILE=/te/pip.conf pip install --no-cache-dir --no-input -r /te/requirements.txt; fi
COPY script/src /project/gefcore/script
USER ${USER:-script}
