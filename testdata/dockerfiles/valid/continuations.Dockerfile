FROM busybox:1.36
RUN one \
  two \  
	three\
four
ENV A=1 \
    B="2 3" \
    C=4
