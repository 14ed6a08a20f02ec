ARG A
ARG B=1 C="two words" D=
FROM busybox:1.36
ARG A
ARG E=${B:-x}$C F='single $quoted'
