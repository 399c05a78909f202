Code.require_file("support.exs", __DIR__)
ExUnit.start(capture_log: true)
