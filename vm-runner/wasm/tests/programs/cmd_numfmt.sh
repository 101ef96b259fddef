numfmt --to=iec 1048576; numfmt --from=iec 2K; numfmt --to=si 1500000; numfmt --padding=8 5; numfmt --from=auto 1Ki
