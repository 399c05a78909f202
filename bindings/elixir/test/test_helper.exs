Code.require_file("support.exs", __DIR__)
# A machine with much else to do is slow, not wrong.
ExUnit.start(capture_log: true, assert_receive_timeout: 20_000, timeout: 180_000)
