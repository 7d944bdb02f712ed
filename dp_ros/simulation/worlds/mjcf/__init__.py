"""Worlds from files: any MuJoCo model, and a short YAML that names its joints, controllers, cameras and bodies."""
