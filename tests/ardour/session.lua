-- Runs in Ardour's Lua interpreter (`ardour7-lua`), in one of two phases, each a process of its own:
--
-- record  a session with the plugin on one MIDI track; a second MIDI track records what it plays, a third turns it into sound for the
--         master bus (`needle.lua`). Ends with the session saved; the take lies in <session>/interchange/*/midifiles/.
-- reopen  that session from disk: play from the start, jump while it plays, stop, play a loop.
--
-- Prints `onset <what is played> <samples since the sound's maker was made> <pitch>` for each note-on, and `done` at the end.
--
-- Environment: BARLINE_PHASE, BARLINE_SESSION (a folder, made by `record`), BARLINE_PLUGIN (its name in Ardour), BARLINE_SETTINGS (`name=value`
-- of its parameters, separated by commas), BARLINE_SECONDS (how long `record` plays), BARLINE_JUMP (the sample `reopen` jumps to).

local dir = os.getenv("BARLINE_SESSION")
local UI = ARDOUR.TransportRequestSource.TRS_UI
local one_midi = ARDOUR.ChanCount(ARDOUR.DataType("midi"), 1)

local function sleep(seconds)
  ARDOUR.LuaAPI.usleep(math.floor(seconds * 1000000))
end

local function insert_of(route, title)
  local i = 0
  while true do
    local processor = route:nth_plugin(i)
    assert(not processor:isnil(), "no " .. title .. " on the track")
    if processor:display_name() == title then return processor end
    i = i + 1
  end
end

-- What the needle heard since it was asked last.
local n_read = 0
local function print_onsets(needle, what)
  local list = needle:to_insert():plugin(0):to_luaproc():shmem()
  local n = list:atomic_get_int(0)
  local values = list:to_int(1):array()
  for i = n_read, n - 1 do print("onset " .. what .. " " .. values[2 * i + 1] .. " " .. values[2 * i + 2]) end
  n_read = n
end

local function record()
  local s = create_session(dir, "barline", 48000)
  assert(s, "no session")
  -- With automatic connections about one run in five deadlocks in Ardour's own auto_connect_route.
  ARDOUR.config():set_input_auto_connect(ARDOUR.AutoConnectOption.ManualConnect)
  ARDOUR.config():set_output_auto_connect(ARDOUR.AutoConnectOption.ManualConnect)
  local function midi_track(title)
    local list = s:new_midi_track(one_midi, one_midi, true, ARDOUR.PluginInfo(), nil, nil, 1, title,
      ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal, true)
    for t in list:iter() do return t:to_track() end
  end
  local generator, recorder, sound = midi_track("generator"), midi_track("recorder"), midi_track("sound")
  assert(generator and recorder and sound, "no tracks")

  local name = os.getenv("BARLINE_PLUGIN")
  local plugin = ARDOUR.LuaAPI.new_plugin(s, name, ARDOUR.PluginType.VST3, "")
  assert(not plugin:isnil(), "Ardour does not know the plugin " .. name)
  assert(generator:add_processor_by_index(plugin, 0, nil, true) == 0, "Ardour does not insert the plugin")
  local needle = ARDOUR.LuaAPI.new_luaproc(s, "Barline Needle")
  assert(not needle:isnil(), "Ardour does not know needle.lua")
  assert(sound:add_processor_by_index(needle, 0, nil, true) == 0, "Ardour does not insert the needle")
  needle:activate()
  local notes = generator:output():midi(0):name()
  assert(recorder:input():midi(0):connect(notes) == 0, "no connection to the recorder")
  assert(sound:input():midi(0):connect(notes) == 0, "no connection to the sound")
  for i = 0, 1 do
    assert(sound:output():audio(i):connect(s:master_out():input():audio(i):name()) == 0, "no connection to the master bus")
  end

  local parameters = plugin:to_insert():plugin(0)
  for setting in os.getenv("BARLINE_SETTINGS"):gmatch("[^,]+") do
    local label, value = setting:match("(.+)=(.+)")
    local found = false
    for i = 0, parameters:parameter_count() - 1 do
      if parameters:parameter_label(i) == label then
        assert(ARDOUR.LuaAPI.set_processor_param(plugin, i, tonumber(value)), "Ardour does not set " .. label)
        found = true
      end
    end
    assert(found, "the plugin has no parameter " .. label)
  end

  recorder:rec_enable_control():set_value(1, PBD.GroupControlDisposition.NoGroup)
  s:maybe_enable_record(false)
  -- Time for the worker to make the first pattern.
  sleep(3)
  s:request_roll(UI)
  sleep(tonumber(os.getenv("BARLINE_SECONDS")))
  s:request_stop(false, false, UI)
  sleep(1.5)
  print_onsets(needle, "record")
  s:save_state("")
end

local function reopen()
  local s = load_session(dir, "barline")
  assert(s, "the session does not open")
  local needle = insert_of(s:route_by_name("sound"), "Barline Needle")
  sleep(2)
  s:goto_start(false)
  sleep(0.5)
  s:request_roll(UI)
  sleep(3)
  print_onsets(needle, "start")
  s:request_locate(tonumber(os.getenv("BARLINE_JUMP")), false, ARDOUR.LocateTransportDisposition.MustRoll, UI)
  sleep(3)
  s:request_stop(false, false, UI)
  sleep(0.5)
  print_onsets(needle, "jump")
  assert(s:locations():auto_loop_location(), "the session has no loop range")
  s:request_play_loop(true, false)
  s:request_roll(UI)
  sleep(5)
  s:request_stop(false, false, UI)
  sleep(0.5)
  print_onsets(needle, "loop")
end

-- This backend runs in real time without a sound card. It is not in the list of backends, and works.
assert(AudioEngine:set_backend("None (Dummy)", "Unit-Test", ""), "no dummy backend")
local phases = { record = record, reopen = reopen }
phases[os.getenv("BARLINE_PHASE")]()
print("done")
io.stdout:flush()
-- Ardour's own clean-up at exit is not what is tested.
os.exit(0)
