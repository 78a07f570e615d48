-- An instrument for Ardour that makes onsets exact: each note-on is one sample, of the height pitch / 128, where it falls. It also keeps
-- a list for the script that runs the session (`session.lua`): for each note-on, the samples since the instrument was made and the pitch.
ardour {
	["type"]    = "dsp",
	name        = "Barline Needle",
	category    = "Instrument",
	license     = "MIT",
	author      = "Barline",
	description = [[One sample per note]]
}

function dsp_ioconfig ()
	return { { midi_in = 1, audio_in = 0, audio_out = 1 } }
end

local clock = 0
local max_notes = 4096

function dsp_init (rate)
	-- [0]: the number of notes; then a clock and a pitch for each.
	self:shmem():allocate(1 + 2 * max_notes)
	self:shmem():atomic_set_int(0, 0)
end

function dsp_runmap (bufs, in_map, out_map, n_samples, offset)
	local out = bufs:get_audio(out_map:get(ARDOUR.DataType("audio"), 0)):data(offset)
	ARDOUR.DSP.memset(out, 0, n_samples)
	local samples = out:array()
	local input = in_map:get(ARDOUR.DataType("midi"), 0)
	if input ~= ARDOUR.ChanMapping.Invalid then
		local n = self:shmem():atomic_get_int(0)
		local list = self:shmem():to_int(1):array()
		for _, event in pairs(bufs:get_midi(input):table()) do
			local bytes = event:buffer():array()
			if event:size() == 3 and (bytes[1] >> 4) == 9 and bytes[3] > 0 then
				-- At the end of a loop Ardour cuts its cycle and shows the events of the first part once more in the second.
				local at = event:time() - offset
				if at >= 0 and at < n_samples and n < max_notes then
					samples[at + 1] = samples[at + 1] + bytes[2] / 128
					list[2 * n + 1] = clock + at
					list[2 * n + 2] = bytes[2]
					n = n + 1
				end
			end
		end
		self:shmem():atomic_set_int(0, n)
	end
	clock = clock + n_samples
end
