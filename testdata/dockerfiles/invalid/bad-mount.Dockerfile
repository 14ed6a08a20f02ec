FROM busybox:1.36
RUN --mount=type=cahce,target=/x true
RUN --mount=type=bind,target=/ true
RUN --mount=type=bind,target=/x,mode=0755 true
RUN --mount=type=secret true
RUN --mount=type=cache,target=/x,sharing=lock true
RUN --mount=type=tmpfs,target=/x,size=big true
RUN --mount=type=cache,target=/x,readonly=perhaps true
RUN --mount=type=cache,target true
RUN --mount=type=secret,id=a,source=b true
RUN --mount=type=cache,target=/x,uid=-1 true
