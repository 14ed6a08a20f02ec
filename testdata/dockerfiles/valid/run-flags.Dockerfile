FROM busybox:1.36
RUN --mount=type=cache,target=/root/.cache,sharing=locked,id=pip \
    --mount=type=bind,from=tools,source=/x,target=/y,rw \
    --network=none --security=sandbox pip install x
RUN --mount=type=secret,id=a,env=B,required --mount=type=ssh --mount=type=tmpfs,target=/t,size=64m true
RUN --mount=target=. --mount=type=cache,dst=/c,mode=0700,uid=1,gid=2,readonly=false true
