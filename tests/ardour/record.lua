-- Runs in Ardour's Lua interpreter (`ardour7-lua`): a session with the plugin on one MIDI track, whose output a second MIDI track
-- records for a while. Prints `recorded` at the end; the notes lie in <session>/interchange/*/midifiles/.
--
-- Environment: BARLINE_SESSION (an empty folder), BARLINE_PLUGIN (its name in Ardour), BARLINE_SECONDS.

local dir = os.getenv("BARLINE_SESSION")
local name = os.getenv("BARLINE_PLUGIN")
local seconds = tonumber(os.getenv("BARLINE_SECONDS"))

-- This backend runs in real time without a sound card. It is not in the list of backends, and works.
local backend = AudioEngine:set_backend("None (Dummy)", "Unit-Test", "")
assert(backend, "no dummy backend")
local s = create_session(dir, "barline", 48000)
assert(s, "no session")
-- With automatic connections about one run in five deadlocks in Ardour's own auto_connect_route.
ARDOUR.config():set_input_auto_connect(ARDOUR.AutoConnectOption.ManualConnect)
ARDOUR.config():set_output_auto_connect(ARDOUR.AutoConnectOption.ManualConnect)

local one_midi = ARDOUR.ChanCount(ARDOUR.DataType("midi"), 1)
local function midi_track(title)
  local list = s:new_midi_track(one_midi, one_midi, true, ARDOUR.PluginInfo(), nil, nil, 1, title,
    ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal, true)
  for t in list:iter() do return t:to_track() end
end

local gen = midi_track("generator")
local rec = midi_track("recorder")
assert(gen and rec, "no tracks")
local plugin = ARDOUR.LuaAPI.new_plugin(s, name, ARDOUR.PluginType.VST3, "")
assert(not plugin:isnil(), "Ardour does not know the plugin " .. name)
assert(gen:add_processor_by_index(plugin, 0, nil, true) == 0, "Ardour does not insert the plugin")
assert(rec:input():midi(0):connect(gen:output():midi(0):name()) == 0, "no connection")

rec:rec_enable_control():set_value(1, PBD.GroupControlDisposition.NoGroup)
s:maybe_enable_record(false)
-- Time for the worker to make the first pattern.
ARDOUR.LuaAPI.usleep(4000000)
s:request_roll(ARDOUR.TransportRequestSource.TRS_UI)
ARDOUR.LuaAPI.usleep(math.floor(seconds * 1000000))
s:request_stop(false, false, ARDOUR.TransportRequestSource.TRS_UI)
ARDOUR.LuaAPI.usleep(1500000)
s:save_state("")
print("recorded")
io.stdout:flush()
-- Ardour's own clean-up at exit is not what is tested.
os.exit(0)
