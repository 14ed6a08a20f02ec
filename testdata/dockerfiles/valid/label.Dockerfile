FROM busybox:1.36
LABEL a=b "c d"="e f" multi="one \
  two"
LABEL legacy some value
LABEL k v w
