FROM busybox:1.36
WORKDRI /app
COYP a b
RUNN x
