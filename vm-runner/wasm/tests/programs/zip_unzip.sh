mkdir d; echo one > d/a; zip -qr z.zip d; unzip -l z.zip | grep -c 'd/a'; rm -r d; unzip -q z.zip; cat d/a
