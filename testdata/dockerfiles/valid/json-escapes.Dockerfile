FROM busybox:1.36
CMD ["\"\\\/\b\f\n\r\t", "\u0041\ud83d\ude00", "\ud800"]
