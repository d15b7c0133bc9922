# Test accuracy by epoch of the headline study, each arm's best setting: gnuplot headline_curves.gp, in
# this folder. headline_curves.csv: arm, epoch, median, lowest and highest of three seeds, from the
# eval rows of trials/*/metrics.csv.
set terminal svg size 700,400 font "sans,13" background "white"
set output "headline_curves.svg"
set datafile separator ","
set xlabel "epoch (8 updates each)"
set ylabel "test accuracy"
set xrange [1:12.6]
set xtics 1, 1, 10
set yrange [0:1]
set ytics 0.1
set grid back lc "#dddddd"
set border 3
set tics nomirror out
unset key
set style fill noborder
rows(arm) = sprintf("<awk -F, '$1 == \"%s\"' headline_curves.csv", arm)
colour(i) = word("#888888 #d55e00 #0072b2 #009e73 #7b3294", i)
arms = "linear_rule nesterov lars lamb muon"
set label 1 "Muon  0.9145" at 10.15, 0.955 tc rgb colour(5)
set label 2 "LAMB  0.9081" at 10.15, 0.908 tc rgb colour(4)
set label 3 "LARS  0.8724" at 10.15, 0.861 tc rgb colour(3)
set label 4 "Nesterov  0.8476" at 10.15, 0.814 tc rgb colour(2)
set label 5 "linear rule  0.1000" at 10.15, 0.10 tc rgb colour(1)
plot for [i = 1:5] rows(word(arms, i)) using 2:4:5 with filledcurves fc rgb colour(i) fs transparent solid 0.25, \
     for [i = 1:5] rows(word(arms, i)) using 2:3 with linespoints pt 7 ps 0.4 lw 2 lc rgb colour(i)
