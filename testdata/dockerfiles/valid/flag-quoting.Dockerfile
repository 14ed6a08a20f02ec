FROM busybox:1.36
COPY --chown="a b":c --chmod=u=rwX,go=rX x /y
RUN --mount=type=bind,source='a b',target=/c -- --not-a-flag
RUN --network=none\
  true
