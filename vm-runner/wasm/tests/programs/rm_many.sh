mkdir big; cd big; seq 1 5000 | xargs touch; ls | wc -l; cd ..; rm -r big; ls | wc -l
