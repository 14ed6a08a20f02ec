FROM busybox:1.36
COPY --from=a \
  --chown=b \
  --link \
  --chmod=1 \
  --parents \
  --exclude=c \
  only
