#!/usr/bin/env bash
# Opens Barline's editor inside Ardour's own window, on a screen that nobody sees, plays, drags the pattern onto a track, and takes two
# pictures: playing.png and dragged.png. The editor, the moving playhead and the region are to be looked at; the file that Ardour made of the
# drag is checked against the command line's.
#
#   cargo xtask bundle barline --release && cargo build --release -p barline --bin barline
#   tests/ardour/window.sh target/bundled target/release/barline /tmp
#
# On Debian 12: apt-get install ardour jackd2 xvfb openbox xdotool imagemagick dbus. Ardour runs in a home folder of its own.
set -euo pipefail
bundled=$(realpath "$1") barline=$(realpath "$2") pictures=$(realpath "$3")
here=$(realpath "$(dirname "$0")")
home=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$home"' EXIT

export HOME=$home BARLINE_DATA=$home/data JACK_DEFAULT_SERVER=barline-$$
export ARDOUR_DATA_PATH=/usr/share/ardour7 ARDOUR_CONFIG_PATH=/etc/ardour7 ARDOUR_DLL_PATH=/usr/lib/ardour7
unset XDG_CONFIG_HOME XDG_CACHE_HOME
mkdir -p "$home/.vst3" "$home/.config/ardour7/scripts"
ln -s "$bundled/Barline.vst3" "$home/.vst3/"
cp "$here/needle.lua" "$home/.config/ardour7/scripts/"

echo "a session with Barline on a track"
LD_LIBRARY_PATH=/usr/lib/ardour7 /usr/lib/ardour7/ardour-vst3-scanner -f "$home/.vst3/Barline.vst3" > "$home/log"
BARLINE_PHASE=record BARLINE_SESSION=$home/session BARLINE_PLUGIN=Barline BARLINE_SETTINGS=Seed=7 BARLINE_SECONDS=2 \
    timeout 90 xvfb-run -a stdbuf -oL ardour7-lua "$here/session.lua" >> "$home/log" 2>&1

echo "Ardour's window"
touch "$home/.config/ardour7/.a7"  # no wizard
cat > "$home/.config/ardour7/config" <<'XML'
<?xml version="1.0" encoding="UTF-8"?>
<Ardour>
  <Config><Option name="try-autostart-engine" value="1"/></Config>
  <Extra><AudioMIDISetup><EngineStates>
    <State backend="JACK" driver="" device="default" input-device="" output-device="" sample-rate="48000" buffer-size="1024" n-periods="2"
      input-latency="0" output-latency="0" input-channels="0" output-channels="0" active="1" use-buffered-io="0" midi-option=""
      lm-input="" lm-output=""/>
  </EngineStates></AudioMIDISetup></Extra>
</Ardour>
XML
Xvfb -displayfd 1 -screen 0 1600x1200x24 -nolisten tcp -noreset > "$home/display" 2>/dev/null &
jackd --no-realtime --name "$JACK_DEFAULT_SERVER" -d dummy -r 48000 -p 1024 >> "$home/log" 2>&1 &
sleep 2
DISPLAY=:$(cat "$home/display")
export DISPLAY
openbox > /dev/null 2>&1 &
dbus-run-session ardour "$home/session/barline.ardour" >> "$home/log" 2>&1 &

window() {  # waits for a window with this name
    for _ in $(seq 60); do
        id=$(xdotool search --onlyvisible --name "$1" 2>/dev/null | head -1)
        if [ -n "$id" ]; then echo "$id"; return; fi
        sleep 1
    done
    echo "there is no window \"$1\":" >&2
    tail -5 "$home/log" >&2
    return 1
}
main=$(window 'barline - Ardour')
sleep 4
# The generator's track, its strip (Shift+E), and the plugin on that.
xdotool windowmove "$main" 0 400 windowsize "$main" 1598 760
sleep 1
xdotool mousemove 40 763 click 1 key shift+e
sleep 2
xdotool mousemove 43 589 click --repeat 2 --delay 120 1
editor=$(window 'generator: Barline')
xdotool windowmove "$editor" 500 0
sleep 3
xdotool windowfocus "$main" key space
sleep 5
import -window root "$pictures/playing.png"
xdotool windowfocus "$main" key space

echo "the pattern, dragged onto a track"
xdotool mousemove 1144 364
sleep 1
xdotool mousedown 1
sleep 0.3
for offset in 4 8 12 16 24 32 $(seq 40 40 560); do
    xdotool mousemove $((1144 - offset * 6 / 10)) $((364 + offset))
    sleep 0.15
done
sleep 1
xdotool mouseup 1
sleep 5
import -window root "$pictures/dragged.png"
"$barline" generate --seed 7 --bars 8 -o "$home/file.mid" > /dev/null 2>&1
figures() {  # without names: Ardour keeps a track's name elsewhere
    "$barline" analyze "$1" --json "$home/figures.json" > /dev/null 2>&1
    sed -E 's/"name": *"[^"]*"//g' "$home/figures.json"
    rm "$home/figures.json"
}
for taken in "$home"/session/interchange/*/midifiles/melody-seed-7*.mid; do
    # The file's first track holds the tempo, and no note.
    if [ "$(figures "$taken" 2>/dev/null)" = "$(figures "$home/file.mid")" ]; then
        echo "Ardour took the file: its figures are those of the command line's"
        exit
    fi
done
echo "Ardour took no such file; see $pictures/dragged.png" >&2
exit 1
