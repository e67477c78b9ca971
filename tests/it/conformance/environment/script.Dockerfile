# A script as the existing server builds it (contract/scripts-executions.md 5.1).
FROM te-test/environment:1
RUN echo 'def run(params, logger): return {"built by": "the existing server", **params}' >gefcore/script/main.py
USER script
