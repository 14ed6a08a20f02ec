FROM busybox:1.36
RUN --device=vendor.com/device=gpu,required true
RUN --device=name=vendor.com/device --device=a/b=c true
