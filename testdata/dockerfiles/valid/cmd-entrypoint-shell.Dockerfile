FROM busybox:1.36
SHELL ["/bin/sh", "-ec"]
ENTRYPOINT ["a", "b c", "\u00e9\n"]
ENTRYPOINT []
CMD echo "$HOME"
CMD []
CMD [ "a" ,"b" ]  
