echo x > a; ln a b; stat -c %h a; rm a; cat b; stat -c %h b
