FROM busybox:1.36
COPY --from builder /a /b
COPY --link=maybe a /b
