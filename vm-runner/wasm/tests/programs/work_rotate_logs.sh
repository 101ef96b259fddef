for n in 1 2 3; do echo log$n > app.log; for i in 3 2 1; do [ -f app.log.$i ] && mv app.log.$i app.log.$((i + 1)); done; mv app.log app.log.1; done; ls app.log*; cat app.log.1 app.log.3
