# escape=`
# escape=\
FROM busybox:1.36
